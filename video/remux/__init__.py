"""Copy, convert or name every stream beside the video: audio, subtitles, data, attachments."""
