"""A model of two small trees in LightGBM's text, one split of each kind."""

FEATURES = 2
MODEL_TEXT = b"""\
tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=amount shop
feature_infos=[0:1] 0:1:2
tree_sizes=300 300

Tree=0
num_leaves=3
num_cat=0
split_feature=0 0
split_gain=1 1
threshold=0.5 0.25
decision_type=10 2
left_child=1 -1
right_child=-3 -2
leaf_value=-0.1 0.2 0.3
leaf_weight=1.5 2 3
leaf_count=4 5 6
internal_value=0 0
is_linear=0
shrinkage=1


Tree=1
num_leaves=2
num_cat=1
split_feature=1
split_gain=1
threshold=0
decision_type=1
left_child=-1
right_child=-2
leaf_value=-0.25 0.5
leaf_weight=2 3
leaf_count=4 5
internal_value=0
cat_boundaries=0 1
cat_threshold=6
is_linear=0
shrinkage=0.05


end of trees
"""
