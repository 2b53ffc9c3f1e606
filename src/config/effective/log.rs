//! `[log]` and `[trace]`, written back.

use super::super::log::{Log, LogFormat, LogTarget, SyslogAt};
use super::super::trace::Trace;
use super::{Page, quoted, size};

impl Page {
    pub(super) fn log(&mut self, log: &Log) {
        self.table("[log]");
        let target = match &log.target {
            LogTarget::Off => "off".to_owned(),
            LogTarget::Stdout => "stdout".to_owned(),
            LogTarget::Journal => "journald".to_owned(),
            LogTarget::File(path) => path.display().to_string(),
            LogTarget::Syslog(SyslogAt::Unix(path)) => format!("syslog:{}", path.display()),
            LogTarget::Syslog(SyslogAt::Udp(at)) => format!("syslog+udp://{at}"),
            LogTarget::Syslog(SyslogAt::Tcp(at)) => format!("syslog+tcp://{at}"),
        };
        self.line("access", &quoted(&target));
        let format = match &log.format {
            LogFormat::Json => "json",
            LogFormat::Combined => "combined",
            LogFormat::Template(template) => &template.text,
        };
        self.line("format", &quoted(format));
        match log.mask {
            None => self.line("mask_client", "false"),
            Some(mask) => {
                let bits = format!("{{ ipv4 = {}, ipv6 = {} }}", mask.ipv4_bits, mask.ipv6_bits);
                self.line("mask_client", &bits);
            }
        }
        if let Some(rotation) = log.rotation {
            let (size, keep) = (size(rotation.bytes), rotation.keep);
            self.line("rotate", &format!("{{ size = {size}, keep = {keep} }}"));
        }
        self.line("sample", &log.sample.share().to_string());
    }

    pub(super) fn trace(&mut self, trace: &Trace) {
        self.table("[trace]");
        self.line("on", &trace.on.to_string());
        self.line("sample", &trace.sample.share().to_string());
        if let Some(at) = &trace.export {
            self.line("export", &quoted(&format!("http://{at}")));
        }
    }
}
