"""Drawings that several questions share: rows of arms, lines over levels, clouds of points."""
