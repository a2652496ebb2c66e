//! What is sent: how many streams of which kind, and how often.

use std::fmt;

use crate::media::packet::Shape;

/// G.711: a packet each 20 ms.
pub(crate) const AUDIO_PPS: u32 = 50;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Bytes of an audio packet: RTP header and 20 ms of G.711.
const AUDIO_BYTES: u32 = 172;

/// 1.5 Mb/s: 30 frames a second of 5 packets with 1250 bytes of payload.
const VIDEO_FPS: u32 = 30;
const VIDEO_PACKETS: u32 = 5;
const VIDEO_BYTES: usize = 1_250;

/// Sends of a generator thread are bundled in ticks of 1/4000 s. Streams share a socket, and then are
/// sent in one burst, only as far as they would meet in one tick anyway, and 8 at most.
const TICKS_PER_SECOND: u32 = 4_000;
const SESSIONS_PER_SOCKET_MAX: u32 = 8;

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Sessions between a client of either side; each stream of a session has one in the other
    /// direction.
    pub(crate) sessions: u32,
    /// Packets a second of each audio stream; `None`: no audio.
    pub(crate) audio_pps: Option<Pace>,
    pub(crate) video: bool,
    pub(crate) purpose: Purpose,
}

/// What the figures are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A row of its own.
    Row,
    /// Few streams at the rate of the stretched rows, to compare those with.
    SameRate,
    /// Many streams with the system's own table of UDP sockets, where all else has a large one.
    SystemHash,
    /// A step of the search for the highest rate without loss.
    Capacity,
    /// More than was found to be the highest rate.
    Overload,
}

/// How often an audio stream sends, as nanoseconds from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace(pub(crate) u64);

impl Pace {
    /// G.711 as phones send it.
    pub(crate) const G711: Pace = Pace(NANOS_PER_SECOND / AUDIO_PPS as u64);

    /// So that `streams` streams send `total_pps` packets a second together.
    pub(crate) const fn of_total(streams: u32, total_pps: u32) -> Pace {
        Pace(NANOS_PER_SECOND * streams as u64 / total_pps as u64)
    }

    pub(crate) fn pps(self) -> f64 {
        NANOS_PER_SECOND as f64 / self.0 as f64
    }
}

impl Workload {
    /// `streams` audio streams; if they would send more than `pps_max` together, each packet time is
    /// stretched until they send just that.
    pub(crate) fn g711(streams: u32, pps_max: u32) -> Workload {
        let fits = streams.saturating_mul(AUDIO_PPS) <= pps_max;
        let pace = if fits { Pace::G711 } else { Pace::of_total(streams, pps_max) };
        Workload::audio(streams, pace, Purpose::Row)
    }

    /// `streams` audio streams that send `total_pps` packets a second together.
    pub(crate) const fn at_rate(streams: u32, total_pps: u32, purpose: Purpose) -> Workload {
        Workload::audio(streams, Pace::of_total(streams, total_pps), purpose)
    }

    const fn audio(streams: u32, pace: Pace, purpose: Purpose) -> Workload {
        let sessions = if streams < 2 { 1 } else { streams / 2 };
        Workload { sessions, audio_pps: Some(pace), video: false, purpose }
    }

    /// `sessions` sessions of video, and of audio too if `audio`.
    pub(crate) const fn video(sessions: u32, audio: bool) -> Workload {
        let audio_pps = if audio { Some(Pace::G711) } else { None };
        Workload { sessions, audio_pps, video: true, purpose: Purpose::Row }
    }

    /// Streams, each in one direction.
    pub(crate) fn streams(&self) -> u32 {
        self.sessions * 2 * (u32::from(self.audio_pps.is_some()) + u32::from(self.video))
    }

    /// Packets a second of all streams together.
    pub(crate) fn offered_pps(&self) -> f64 {
        let audio = self.audio_pps.map_or(0.0, Pace::pps);
        let video = if self.video { f64::from(VIDEO_FPS * VIDEO_PACKETS) } else { 0.0 };
        f64::from(self.sessions * 2) * (audio + video)
    }

    /// Packets are sent less often than G.711 phones would.
    pub(crate) fn is_stretched(&self) -> bool {
        self.audio_pps.is_some_and(|pace| pace.0 > Pace::G711.0)
    }

    /// Which kinds are sent: audio, video.
    pub(crate) const fn kinds(&self) -> [bool; 2] {
        [self.audio_pps.is_some(), self.video]
    }

    pub(crate) fn audio_shape(&self) -> Shape {
        Shape::audio_each(self.audio_pps.unwrap_or(Pace::G711).0)
    }

    pub(crate) fn video_shape(&self) -> Option<Shape> {
        self.video.then(|| Shape::video(VIDEO_FPS, VIDEO_PACKETS, VIDEO_BYTES))
    }

    pub(crate) fn sessions_per_socket(&self) -> u32 {
        let per_tick = (self.offered_pps() / f64::from(TICKS_PER_SECOND)) as u32;
        per_tick.clamp(1, SESSIONS_PER_SOCKET_MAX).min(self.sessions)
    }

    /// The key in the report.
    pub(crate) fn name(&self) -> String {
        let streams = self.streams();
        match (self.kinds(), self.purpose) {
            ([false, _], _) => format!("video-{streams}"),
            ([true, true], _) => format!("av-{streams}"),
            ([true, false], Purpose::Row) => format!("g711-{streams}"),
            ([true, false], Purpose::SameRate) => format!("g711-{streams}-same-rate"),
            ([true, false], Purpose::SystemHash) => format!("g711-{streams}-system-hash"),
            ([true, false], Purpose::Capacity) => format!("capacity-{}k", self.kpps()),
            ([true, false], Purpose::Overload) => format!("overload-{}k", self.kpps()),
        }
    }

    fn kpps(&self) -> u32 {
        (self.offered_pps() / 1_000.0).round() as u32
    }

    /// In words.
    pub(crate) fn description(&self) -> String {
        let (streams, kpps) = (self.streams(), self.offered_pps() / 1_000.0);
        let rate = format!("{kpps:.1} kpps");
        match (self.audio_pps, self.video) {
            (Some(pace), false) => format!(
                "{streams} streams of G.711, {AUDIO_BYTES} bytes each {:.4} ms, {rate}{}",
                pace.0 as f64 / 1e6,
                match self.purpose {
                    Purpose::SystemHash => ", the system's own table of UDP sockets",
                    Purpose::Row | Purpose::SameRate | Purpose::Capacity | Purpose::Overload => "",
                }
            ),
            (Some(_), true) => {
                format!("{streams} streams, half G.711, half 1.5 Mb/s video in bursts, {rate}")
            }
            (None, _) => format!(
                "{streams} streams of 1.5 Mb/s video, {VIDEO_FPS} bursts a second of {VIDEO_PACKETS} packets, {rate}"
            ),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_beyond_the_rate_are_stretched_to_it() {
        let native = Workload::g711(2_000, 100_000);
        assert_eq!((native.audio_pps, native.is_stretched()), (Some(Pace::G711), false));
        let stretched = Workload::g711(16_000, 60_000);
        assert!(stretched.is_stretched());
        assert!((stretched.offered_pps() - 60_000.0).abs() < 1.0);
        assert_eq!((stretched.streams(), stretched.sessions), (16_000, 8_000));
    }

    #[test]
    fn video_is_one_and_a_half_megabits() {
        let video = Workload::video(1, false);
        let bits = video.offered_pps() / 2.0 * VIDEO_BYTES as f64 * 8.0;
        assert!((bits - 1.5e6).abs() < 1.0);
        assert_eq!(video.name(), "video-2");
        assert_eq!(Workload::video(1, true).name(), "av-4");
    }

    #[test]
    fn a_burst_is_no_larger_than_what_meets_in_a_tick() {
        assert_eq!(Workload::g711(100, 100_000).sessions_per_socket(), 1);
        assert_eq!(Workload::g711(500, 100_000).sessions_per_socket(), 6);
        assert_eq!(Workload::g711(2_000, 100_000).sessions_per_socket(), 8);
    }
}
