"""Remux the streams other than the upscaled video: copy or convert audio, subtitles, attachments and data."""
