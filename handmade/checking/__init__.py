"""9. Gradients checked by differences, and wrong ones explained."""
