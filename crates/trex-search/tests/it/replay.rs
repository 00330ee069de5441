//! Simulated searches on a made-up surface: what is charged, what is counted, and that knowing pays.

use std::collections::BTreeMap;

use trex_domain::{ContentHash, seeded_rng};
use trex_search::{
    Ask, CONTENDERS, Dimension, Outcomes, RecordedRung, RecordedTrial, ReplaySettings, SURFACE_FORMAT, Space, Surface,
    SurfaceHeader, compare_contenders, contender, savings, simulate,
};

use rand::RngExt as _;

const LENGTHS: [usize; 5] = [5, 4, 2, 2, 2];

/// Quality falls with the distance from one learning rate, differs by recipe, and grows with the rung.
fn surface(seeds: u64) -> Surface {
    let names = ["learning_rate", "recipe", "rank", "max_steps", "lr_scheduler_type"];
    let dimension = |(name, length): (&str, usize)| Dimension {
        name: name.to_owned(),
        values: (0..length).map(|value| value.to_string()).collect(),
    };
    let mut rng = seeded_rng(7, "surface");
    let mut outcomes =
        |quality: f64, items: usize| Outcomes::new((0..items).map(|_| rng.random::<f64>() < quality).collect());
    let header = SurfaceHeader {
        format: SURFACE_FORMAT.to_owned(),
        task: Box::new(trex_testkit::task()),
        model: ContentHash::of_bytes(b"model"),
        seed: 1,
        rungs: 3,
        eta: 3,
        base: [outcomes(0.4, 300), outcomes(0.4, 400), outcomes(0.4, 2000)],
        dimensions: names.into_iter().zip(LENGTHS).map(dimension).collect(),
        grid: ContentHash::of_bytes(b"grid"),
        seeds,
    };
    let mut trials = BTreeMap::new();
    for point in 0..header.num_points() {
        let place = header.place(point);
        let off = place[0].abs_diff(3) as f64;
        let quality = 0.75 - 0.08 * off - 0.04 * place[1].abs_diff(2) as f64 - 0.02 * place[2] as f64;
        for seed in 0..seeds {
            let recorded = |steps: usize, share: f64, outcomes: &mut dyn FnMut(f64, usize) -> Outcomes| RecordedRung {
                steps,
                loss: Some(1.0),
                search: outcomes(0.4 + (quality - 0.4) * share, 300),
                gold: None,
            };
            let rungs = [(10, 0.5), (30, 0.8), (90, 1.0)];
            let trial = RecordedTrial {
                point,
                seed,
                rungs: rungs.iter().map(|(steps, share)| recorded(*steps, *share, &mut outcomes)).collect(),
                curve: Vec::new(),
                select: outcomes(quality, 400),
                final_: outcomes(quality, 2000),
                cpu_s: 1.0,
                failed: None,
            };
            trials.insert((point, seed), trial);
        }
    }
    Surface { header, trials }
}

#[test]
fn a_surface_without_a_whole_seed_is_refused() {
    let mut surface = surface(1);
    surface.trials.pop_last();
    assert!(Space::new(&surface).is_err());
}

#[test]
fn no_search_spends_more_than_its_budget_and_equal_numbers_give_equal_searches() {
    let surface = surface(2);
    let space = Space::new(&surface).unwrap();
    for name in CONTENDERS {
        for number in 0..3 {
            let run = || simulate(contender(name).unwrap().as_mut(), &space, 5.0, number);
            let one = run();
            assert!(one.record.cost <= 5.0 + 1e-9 && one.record.cost > 3.5, "{name} spent {}", one.record.cost);
            assert_eq!(one, run(), "{name}");
        }
    }
    assert!(contender("trx").is_err());
}

#[test]
fn a_promoted_point_costs_the_rest_and_a_known_one_costs_all() {
    let surface = surface(1);
    let space = Space::new(&surface).unwrap();
    let mut record = trex_search::Record::default();
    let cost = |record: &trex_search::Record, rung| space.cost(record, Ask { point: 0, rung });
    assert!((cost(&record, 0) - 1.0 / 9.0).abs() < 1e-12);
    record.scores.insert(0, vec![0.5]);
    assert!((cost(&record, 2) - 8.0 / 9.0).abs() < 1e-12);
    assert!((cost(&record, 0) - 1.0 / 9.0).abs() < 1e-12);
}

#[test]
fn the_search_of_a_run_never_trains_twice_and_beats_random() {
    let surface = surface(2);
    let space = Space::new(&surface).unwrap();
    let settings = ReplaySettings { budget: 16.0, searches: 40 };
    let found = compare_contenders(&space, &["trex", "random"], settings).unwrap();
    assert!(found[0].duplicates.abs() < 1e-12 && found[1].duplicates > 0.0);
    assert!(found[0].behind_trex.iter().all(|gap| gap.mean.abs() < 1e-12));
    let behind = found[1].behind_trex[2];
    assert!(behind.ci95[0] > 0.0, "random is behind by {behind:?}");
}

#[test]
fn rungs_save_cost() {
    let surface = surface(2);
    let space = Space::new(&surface).unwrap();
    let found = savings(&space, ReplaySettings { budget: 8.0, searches: 60 }).unwrap();
    assert!(found.saved > 0.0, "{found:?}");
}
