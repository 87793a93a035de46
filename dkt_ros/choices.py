"""Names of engines and words that their options take, for the command line and the node; imports nothing heavy."""

#: Each is a module of ``dkt_ros.engines`` with a function ``load``.
ENGINE_NAMES = ("nano", "dkt", "dvd", "depthlab", "completion")
PROFILES = ("reference", "low_latency")
MODES = ("single", "windowed", "streaming")
PRECISIONS = ("float32", "bfloat16")
VAES = ("full", "tiny", "tiny_both")
STITCHINGS = ("demo", "eval")
