"""Measurements that anyone can run: every contender in a process of its own, memory beside time."""
