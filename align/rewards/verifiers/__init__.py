"""Verifiers: is the answer right?"""
