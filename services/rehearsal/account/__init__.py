"""An emulated AWS account: ministack, made strict where Freehold depends on it, with real processes behind tasks and
databases.
"""
