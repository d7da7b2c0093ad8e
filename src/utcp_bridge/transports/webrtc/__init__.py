"""The `webrtc` transport."""
