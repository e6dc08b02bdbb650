"""Draws given observations at several times: particles that go back along the reversal, and forecasts."""
