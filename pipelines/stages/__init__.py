"""One model each: pixels to tensor, tensor to result."""
