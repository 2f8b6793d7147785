//! How near the process is to the end of its memory, as its control group sees it, and of its descriptors.
//!
//! In: the files of the control group (version 2, else 1), and `/proc/self/fd`. Out: thousandths of the limit, `None` without a
//! limit. What can be dropped at any time (file cache) does not count.

use std::fs::read_to_string;
use std::path::Path;

/// A limit above this is the kernel's way of saying that there is none.
const UNLIMITED: u64 = 1 << 60;

/// What of the memory limit is used, in thousandths.
pub fn memory_share() -> Option<u32> {
    let root = Path::new("/sys/fs/cgroup");
    share(root, "memory.max", "memory.current", "memory.stat").or_else(|| {
        share(&root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    })
}

/// Want of descriptors is cured by accepting nobody, not by refusing requests or cutting streams: it counts up to here.
const MOST_FOR_DESCRIPTORS: u32 = 970;

/// What of the process's descriptors is used, in thousandths.
pub fn descriptor_share() -> Option<u32> {
    let limit = super::sys::descriptor_limit();
    // The kernel tells the number as the folder's size (since 6.2; older ones say 0, which is no pressure).
    let used = std::fs::metadata("/proc/self/fd").ok()?.len();
    of_descriptors(used, limit)
}

fn of_descriptors(used: u64, limit: u64) -> Option<u32> {
    let share = u32::try_from(used.saturating_mul(1_000).checked_div(limit)?).ok()?;
    Some(share.min(MOST_FOR_DESCRIPTORS))
}

fn share(folder: &Path, limit: &str, current: &str, stat: &str) -> Option<u32> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit).filter(|limit| (1..UNLIMITED).contains(limit))?;
    let cache = read_to_string(folder.join(stat)).ok().and_then(|text| inactive(&text)).unwrap_or(0);
    let used = number(current)?.saturating_sub(cache);
    u32::try_from(used.saturating_mul(1_000) / limit).ok()
}

fn inactive(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| {
        line.strip_prefix("inactive_file ").or_else(|| line.strip_prefix("total_inactive_file "))
    })?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::write;

    #[test]
    fn want_of_descriptors_stops_accepting_and_refuses_no_request() {
        assert_eq!(of_descriptors(10, 1_000), Some(10));
        assert_eq!(of_descriptors(960, 1_000), Some(960));
        assert_eq!(of_descriptors(1_000, 1_000), Some(970));
        assert_eq!(of_descriptors(1, 0), None);
        let pressure = crate::reactor::shared::Pressure::default();
        pressure.report(970);
        assert!(pressure.stops_accepting() && !pressure.refuses_exchanges());
    }

    #[test]
    fn file_cache_does_not_count_and_no_limit_is_no_pressure() {
        let folder = std::env::temp_dir().join(format!("mainstay-overload-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let asked = || share(&folder, "memory.max", "memory.current", "memory.stat");
        assert_eq!(asked(), None);
        write(folder.join("memory.max"), "1000\n").unwrap();
        write(folder.join("memory.current"), "900\n").unwrap();
        write(folder.join("memory.stat"), "anon 1\ninactive_file 150\n").unwrap();
        assert_eq!(asked(), Some(750));
        write(folder.join("memory.max"), "max\n").unwrap();
        assert_eq!(asked(), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
