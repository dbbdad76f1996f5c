import numpy as np

from pipelines.core.tensors import KEEP_BYTES, Scratch, contiguous_float32


def test_a_smaller_tensor_reuses_the_memory_of_a_larger_one():
    scratch = Scratch()
    large = scratch.tensor(2, 3, 48, 640)
    small = scratch.tensor(1, 3, 48, 320)
    assert small.shape == (1, 3, 48, 320) and small.flags.c_contiguous
    assert np.shares_memory(large, small)


def test_a_tensor_above_the_bound_is_not_kept():
    scratch = Scratch()
    kept = scratch.tensor(8)
    huge = scratch.tensor(KEEP_BYTES // 4 + 1)
    assert not np.shares_memory(kept, huge)
    assert np.shares_memory(kept, scratch.tensor(8))


def test_an_engine_answer_is_copied_only_when_it_must():
    right = np.zeros((2, 3), np.float32)
    assert contiguous_float32(right) is right
    assert contiguous_float32(right.astype(np.float16)).dtype == np.float32
