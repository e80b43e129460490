"""The network as Lava processes.

Lava's compiler executes every module of this folder when it looks for process models, so importing
any of them must do nothing else; scripts live elsewhere.
"""
