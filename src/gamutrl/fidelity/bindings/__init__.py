"""One module a system, one function a recorded function: the names are the binding.

`golden/peer-trl/grpo_loss_bnpo.json` is answered by `bindings/peer_trl.py`, `grpo_loss_bnpo(**inputs)` (a system whose
name starts with a digit has an `s` before it: `s3d_r1.py`). A binding renames arguments and builds tensors, nothing
else; a function that is not there is reported as unbound. Parameters annotated with a type of `gamutrl.fidelity.inputs`
arrive as tensors, all others as the JSON has them. Import rooms' modules, not their functions, lest a name bind by
accident.
"""
