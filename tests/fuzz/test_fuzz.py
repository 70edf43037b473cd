"""The fuzzer's runner: what it leaves uninstrumented."""

from fuzz import compiled


def test_what_numba_compiles_is_left_alone() -> None:
    """Kernels, and not the decoders beside them."""
    found = compiled()
    assert (True, True, False) == (
        "learners.tree_head" in found, "features.windows" in found, "features.decoding" in found
    )  # fmt: skip
