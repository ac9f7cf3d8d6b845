"""Measurements, each a module to be run by hand; they print figures and fail below their floors."""
