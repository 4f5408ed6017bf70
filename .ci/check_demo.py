"""One video and one audio stream, of equal length within one frame."""

import sys

import av

with av.open(sys.argv[1]) as container:
    streams = (len(container.streams.video), len(container.streams.audio))
    assert streams == (1, 1), f"expected one video and one audio stream, found {streams}"
    video, audio = container.streams.video[0], container.streams.audio[0]
    frames = sum(1 for _ in container.decode(video))
    container.seek(0)
    samples = sum(frame.samples for frame in container.decode(audio))
    frame_seconds = 1 / float(video.average_rate)
    seconds = frames * frame_seconds, samples / audio.rate
    assert abs(seconds[0] - seconds[1]) <= frame_seconds, f"video and audio last {seconds} s"
    print(f"{sys.argv[1]}: {frames} frames, video {seconds[0]:.3f} s, audio {seconds[1]:.3f} s")
