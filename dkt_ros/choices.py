"""Words that options of engines take, on the command line and as node parameters; imports nothing, for instant help."""

PROFILES = ("reference", "low_latency")
MODES = ("single", "windowed", "streaming")
PRECISIONS = ("float32", "bfloat16")
VAES = ("full", "tiny", "tiny_both")
STITCHINGS = ("demo", "eval")
