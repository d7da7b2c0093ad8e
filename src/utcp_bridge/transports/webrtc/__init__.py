"""The `webrtc` transport: calls over WebRTC data channels."""
