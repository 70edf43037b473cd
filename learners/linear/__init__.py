"""The online linear learner: FTRL-proximal and AdaGrad over dense and categorical columns."""
