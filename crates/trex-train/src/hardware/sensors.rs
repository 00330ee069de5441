//! What the machine's sensors say, where they can be read: temperature of the processor and of cards, power and energy of
//! the processor. Linux only so far; elsewhere, in most virtual machines, and where the system keeps them from ordinary
//! users, nothing is known, and nothing is made up.
//!
//! Temperatures are those of the kernel's `hwmon` drivers of processors, else of its thermal zones; energy is that of the
//! processor's packages by RAPL (`powercap`), which counts for all programs of the machine together.

use crate::hardware::{Answer, HardwareSource};

/// Drivers whose temperatures are those of a processor.
const CPU_DRIVERS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];

/// Thermal zones that are those of a processor.
const CPU_ZONES: [&str; 3] = ["x86_pkg_temp", "cpu-thermal", "cpu_thermal"];

const HWMON: &str = "/sys/class/hwmon";
const ZONES: &str = "/sys/class/thermal";
const POWERCAP: &str = "/sys/class/powercap";

/// The hottest place of the processor in degrees Celsius.
pub(crate) fn cpu_temperature_c(source: &dyn HardwareSource) -> Option<f64> {
    let drivers = source.list(HWMON).into_iter().map(|name| format!("{HWMON}/{name}"));
    let ours = drivers.filter(|folder| is_one_of(source, &format!("{folder}/name"), &CPU_DRIVERS));
    let by_driver = ours.flat_map(|folder| {
        let inputs = source.list(&folder).into_iter();
        let inputs = inputs.filter(|name| name.starts_with("temp") && name.ends_with("_input"));
        inputs.filter_map(|name| degrees(source, &format!("{folder}/{name}"))).collect::<Vec<_>>()
    });
    by_driver.max_by(f64::total_cmp).or_else(|| {
        let zones = source.list(ZONES).into_iter().map(|name| format!("{ZONES}/{name}"));
        let ours = zones.filter(|folder| is_one_of(source, &format!("{folder}/type"), &CPU_ZONES));
        ours.filter_map(|folder| degrees(source, &format!("{folder}/temp"))).max_by(f64::total_cmp)
    })
}

/// The hottest NVIDIA card in degrees Celsius. Starts a program, so it is for jobs that hold a card.
pub(crate) fn card_temperature_c(source: &dyn HardwareSource) -> Option<f64> {
    let arguments = ["--query-gpu=temperature.gpu", "--format=csv,noheader,nounits"];
    let Answer::Said(text) = source.ask("nvidia-smi", &arguments) else { return None };
    text.lines().filter_map(|line| line.trim().parse().ok()).max_by(f64::total_cmp)
}

fn is_one_of(source: &dyn HardwareSource, path: &str, names: &[&str]) -> bool {
    source.read(path).is_some_and(|name| names.contains(&name.trim()))
}

/// The kernel writes thousandths of a degree.
fn degrees(source: &dyn HardwareSource, path: &str) -> Option<f64> {
    let value: f64 = source.read(path)?.trim().parse().ok()?;
    Some(value / 1000.0).filter(|degrees| (-50.0..200.0).contains(degrees))
}

/// Counters of the energy that the processor's packages have used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EnergyCounters {
    /// Microjoules, and the value after which the counter begins again.
    packages: Vec<(u64, u64)>,
}

impl EnergyCounters {
    /// As they stand; `None` where there are none, or they may not be read.
    pub(crate) fn read(source: &dyn HardwareSource) -> Option<Self> {
        // `intel-rapl:0` is a package, also of AMD; `intel-rapl:0:1` is a part of it.
        let packages = source.list(POWERCAP).into_iter().filter(|name| name.matches(':').count() == 1);
        let number = |path: String| source.read(&path)?.trim().parse::<u64>().ok();
        let read = packages.map(|name| {
            let folder = format!("{POWERCAP}/{name}");
            Some((number(format!("{folder}/energy_uj"))?, number(format!("{folder}/max_energy_range_uj"))?))
        });
        let packages: Option<Vec<_>> = read.collect();
        packages.filter(|all| !all.is_empty()).map(|packages| Self { packages })
    }

    /// Joules since an earlier reading. A counter that went round more than once is not noticed: they last for an hour.
    pub(crate) fn joules_since(&self, earlier: &Self) -> f64 {
        let used = self.packages.iter().zip(&earlier.packages).map(|((now, most), (before, _))| {
            if now >= before { now - before } else { most.saturating_sub(*before) + now }
        });
        used.sum::<u64>() as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A machine of recorded files.
    #[derive(Default)]
    struct Recorded {
        files: BTreeMap<&'static str, &'static str>,
        smi: Option<&'static str>,
    }

    impl HardwareSource for Recorded {
        fn system(&self) -> String {
            "linux x86_64".to_owned()
        }

        fn read(&self, path: &str) -> Option<String> {
            self.files.get(path).map(|text| (*text).to_owned())
        }

        fn list(&self, folder: &str) -> Vec<String> {
            let below = self.files.keys().filter_map(|path| path.strip_prefix(folder)?.strip_prefix('/'));
            let mut names: Vec<String> = below.filter_map(|rest| rest.split('/').next()).map(str::to_owned).collect();
            names.dedup();
            names
        }

        fn ask(&self, _: &str, _: &[&str]) -> Answer {
            self.smi.map_or(Answer::Absent, |text| Answer::Said(text.to_owned()))
        }

        fn threads(&self) -> usize {
            1
        }

        fn vector_instructions(&self) -> Vec<String> {
            Vec::new()
        }
    }

    fn machine(files: &[(&'static str, &'static str)]) -> Recorded {
        Recorded { files: files.iter().copied().collect(), smi: None }
    }

    #[test]
    fn the_hottest_place_of_the_processor_is_told_and_no_other_sensor() {
        let drivers = machine(&[
            ("/sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("/sys/class/hwmon/hwmon0/temp1_input", "90000\n"),
            ("/sys/class/hwmon/hwmon1/name", "k10temp\n"),
            ("/sys/class/hwmon/hwmon1/temp1_input", "61250\n"),
            ("/sys/class/hwmon/hwmon1/temp2_input", "48000\n"),
            ("/sys/class/hwmon/hwmon1/temp1_label", "Tctl\n"),
        ]);
        assert_eq!(cpu_temperature_c(&drivers), Some(61.25));
        let zones = machine(&[
            ("/sys/class/thermal/thermal_zone0/type", "acpitz\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "27800\n"),
            ("/sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n"),
            ("/sys/class/thermal/thermal_zone1/temp", "55000\n"),
        ]);
        assert_eq!(cpu_temperature_c(&zones), Some(55.0));
        let odd = machine(&[
            ("/sys/class/hwmon/hwmon1/name", "coretemp\n"),
            ("/sys/class/hwmon/hwmon1/temp1_input", "-273000000\n"),
        ]);
        assert_eq!(cpu_temperature_c(&odd), None);
        assert_eq!(cpu_temperature_c(&machine(&[])), None);
    }

    #[test]
    fn the_hottest_card_is_told() {
        let card = Recorded { smi: Some("54\n61\n[N/A]\n"), ..Recorded::default() };
        assert_eq!(card_temperature_c(&card), Some(61.0));
        assert_eq!(card_temperature_c(&machine(&[])), None);
    }

    #[test]
    fn energy_is_that_of_all_packages_also_when_a_counter_began_again() {
        let at = |first, second| {
            machine(&[
                ("/sys/class/powercap/intel-rapl/enabled", "1\n"),
                ("/sys/class/powercap/intel-rapl:0/energy_uj", first),
                ("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "100000000\n"),
                ("/sys/class/powercap/intel-rapl:0:0/energy_uj", "5\n"),
                ("/sys/class/powercap/intel-rapl:1/energy_uj", second),
                ("/sys/class/powercap/intel-rapl:1/max_energy_range_uj", "100000000\n"),
            ])
        };
        let before = EnergyCounters::read(&at("99000000\n", "10000000\n")).unwrap();
        let after = EnergyCounters::read(&at("2000000\n", "14000000\n")).unwrap();
        assert!((after.joules_since(&before) - 7.0).abs() < 1e-9);
        let secret = machine(&[("/sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1\n")]);
        assert_eq!(EnergyCounters::read(&secret), None, "the counter may not be read");
        assert_eq!(EnergyCounters::read(&machine(&[])), None);
    }
}
