"""One inference framework each: tensors to tensors."""
