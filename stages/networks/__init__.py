"""Networks and the classical model: one module per entry of conf/model."""
