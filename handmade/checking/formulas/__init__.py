"""9. A wrong step of a backward pass written as a formula of the arrays that are at hand there."""
