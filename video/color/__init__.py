"""Convert between YUV and RGB, exactly and on the device."""
