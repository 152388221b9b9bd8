"""Write frames to video files and numbered images."""
