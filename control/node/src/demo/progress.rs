//! Live progress on standard error: a bar on a terminal, a line a second elsewhere.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use control_core::settings::Settings;
use indicatif::{ProgressBar, ProgressStyle};
use load::progress::{Phase, Progress};

use crate::cli::DemoArgs;

/// Between two lines where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Display {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Display {
    pub(super) fn start(args: &DemoArgs, target: SocketAddr, settings: &Settings) -> Display {
        let DemoArgs { sessions, seconds, .. } = args;
        eprintln!(
            "ringfarm demo: node on {target} (media ports {}-{}), {sessions} calls with audio and video for {seconds} s",
            settings.media.ports.first(),
            settings.media.ports.last(),
        );
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(u64::from(*sessions));
            if let Ok(style) = ProgressStyle::with_template("[{elapsed_precise}] {bar:24} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Display { bar, last_line: None }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(u64::from(progress.sessions_up));
                bar.set_message(line(progress));
            }
            None => {
                if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    self.last_line = Some(Instant::now());
                    eprintln!("{:6.1} s  {}", progress.elapsed_ms as f64 / 1e3, line(progress));
                }
            }
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let Progress { registered, registrations, sessions_up, sessions_failed, .. } = progress;
    let calls =
        format!("{sessions_up}/{} calls up, {sessions_failed} failed", progress.sessions_requested);
    match progress.phase {
        Phase::Registering => format!("registering {registered}/{registrations}"),
        Phase::Calling => format!("calling: {calls}"),
        Phase::Holding => format!(
            "media: {calls}, {} packets/s sent, {} received, {} missing",
            progress.rtp_sent_per_second,
            progress.rtp_received_per_second,
            progress.rtp_packets_missing
        ),
        Phase::Draining => format!("last packets: {calls}"),
        Phase::HangingUp => "hanging up".to_owned(),
        Phase::Unregistering => "taking the registrations back".to_owned(),
        Phase::Done => "done".to_owned(),
    }
}
