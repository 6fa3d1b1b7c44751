"""Masks over weights: scores, masks and schedules."""
