"""Particles and their images: tables, import, export, the packed store and its batches."""
