"""Profiles for seccomp and AppArmor, made from what tests of the image were seen to do."""
