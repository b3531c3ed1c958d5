"""Comparing eviction policies on traces: what they miss, and how long requests wait."""
