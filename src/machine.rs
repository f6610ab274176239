//! What this machine has: memory, and what of it this process holds.
#![allow(clippy::disallowed_methods)] // Asking the operating system is this module's purpose.

use std::fs;
use std::path::Path;

/// The share of the memory at hand that a run may take when no ceiling is given.
pub const DEFAULT_SHARE: f64 = 0.75;

/// Bytes that this process holds now: its resident set.
///
/// Where the operating system does not say, an estimate that is on the safe side for this program.
pub fn process_bytes() -> u64 {
    const UNKNOWN: u64 = 64 << 20;
    fs::read_to_string("/proc/self/status").ok().and_then(|s| kib_field(&s, "VmRSS:")).unwrap_or(UNKNOWN)
}

/// The most bytes that this process ever held, where the operating system says.
pub fn peak_process_bytes() -> Option<u64> {
    fs::read_to_string("/proc/self/status").ok().and_then(|s| kib_field(&s, "VmHWM:"))
}

/// A number that differs from run to run.
pub fn seed() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    time.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)
}

/// Bytes that a run may hope for: what is available on the machine, or the limit of the control group, if that is less.
pub fn memory_at_hand() -> Option<u64> {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|s| kib_field(&s, "MemAvailable:"));
    let available = available.or_else(physical_memory);
    match (available, cgroup_limit()) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Bytes of memory in the machine, where there is no `/proc` to ask (macOS).
fn physical_memory() -> Option<u64> {
    let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The memory limit of the control group that this process is in, version 2 or 1.
fn cgroup_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(|line| limit_of_group(line, Path::new("/sys/fs/cgroup"))).min()
}

/// `line` is `0::/path` (version 2) or `n:controllers:/path` (version 1).
fn limit_of_group(line: &str, root: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (base, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        c if c.split(',').any(|c| c == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    // A limit of a group holds for all groups in it, so the least on the way up counts. Inside a container the path may not
    // exist below its own mount; the root of the mount is then the group itself.
    let group = base.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|dir| dir.starts_with(&base));
    groups.filter_map(|dir| fs::read_to_string(dir.join(file)).ok()?.trim().parse::<u64>().ok()).min() // "max" is none
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_in_both_versions_of_control_groups() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("a/memory.max", "1048576\n");
        put("b/memory.max", "max\n");
        put("b/c/memory.max", "2097152\n");
        put("b/c/d/memory.max", "max\n");
        put("memory/c/memory.limit_in_bytes", "4096\n");
        assert_eq!(limit_of_group("0::/a", root.path()), Some(1_048_576));
        assert_eq!(limit_of_group("0::/b", root.path()), None);
        assert_eq!(
            limit_of_group("0::/b/c/d", root.path()),
            Some(2_097_152),
            "a parent's limit holds for its children"
        );
        assert_eq!(limit_of_group("9:memory:/c", root.path()), Some(4096));
        assert_eq!(limit_of_group("8:cpu,cpuacct:/c", root.path()), None);
        assert_eq!(limit_of_group("nonsense", root.path()), None);
    }

    #[test]
    fn fields_are_in_kib() {
        assert_eq!(kib_field("A: 1 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 << 10));
        assert_eq!(kib_field("A: 1 kB\n", "VmRSS:"), None);
    }
}
