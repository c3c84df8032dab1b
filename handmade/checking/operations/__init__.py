"""9. A backward pass explained by the operations of its function: recorded, and done with mistakes."""
