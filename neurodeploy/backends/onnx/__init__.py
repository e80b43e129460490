"""ONNX files: a float graph (`graph`), or an integer program (`program`)."""
