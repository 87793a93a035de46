"""Published sets, one picture at a time: what their files say, in metres and in the optical frame.

Training (``dkt_ros.training.sources``) and evaluation (``dkt_ros.evaluation``) read them through this room, which knows
neither of the two and needs no torch.
"""
