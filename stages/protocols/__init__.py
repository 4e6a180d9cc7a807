"""Split protocols: one module per way of saying in which fold each clip is tested."""
