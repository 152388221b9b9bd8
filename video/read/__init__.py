"""Read frames from video files, numbered images and arrays in memory."""
