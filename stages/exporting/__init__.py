"""Export: a trained network as an ONNX graph, checked against the network, with a model card.

May import `learning`, `metrics`, `splits`, `sources`, `audio`, `running` and `settings`.
"""
