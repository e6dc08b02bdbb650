"""Training settings: read from words, refused in one line."""

import pytest

from physinv.config.settings import assign, settings_from


def test_settings_teach():
    with pytest.raises(ValueError, match="no setting `widht`; did you mean `width`"):
        settings_from({"widht": 3})
    with pytest.raises(ValueError, match="setting `rate`: input should be greater than or equal to 0, got -1"):
        settings_from({"rate": -1})
    with pytest.raises(ValueError, match="window lengths of 2 or more"):
        settings_from({"windows": [1]})
    assert assign(["rate=1e-3", "prior=edges", "windows=[2, 4]"]) == {"rate": 1e-3, "prior": "edges", "windows": [2, 4]}
    with pytest.raises(ValueError, match="takes key=value, got 'rate'"):
        assign(["rate"])
