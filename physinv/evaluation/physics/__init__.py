"""Checks by the physics: do samples obey the equation, and do they reach what was observed?"""
