//! Predictions: by static cycles, by a profile, over layers and groups of layers.

use pipeit_planner::board::Board;
use pipeit_planner::cost::{Cluster, Costs};
use pipeit_planner::features::Weights;
use pipeit_planner::networks::{Layer, Network};
use pipeit_planner::plan::Team;
use pipeit_planner::predict::{ClusterPredictor, Cores, Described, Predictor};
use pipeit_planner::profile::{FORMAT, Profile, ProfileError, ProfiledCluster, Row, SYNTHETIC};
use pipeit_rt::kernels::Path;
use proptest::prelude::*;

fn cores(name: &str, cores: usize, slowdown: f64) -> Cores {
    Cores { name: name.to_owned(), cores, slowdown }
}

fn described(name: &str) -> Described {
    let layers: Vec<_> = Network::named(name).unwrap().layers().copied().collect();
    let crossing_bytes = layers.iter().map(|layer| layer.input.iter().product::<usize>() as u64);
    Described { crossing_bytes: crossing_bytes.collect(), layers }
}

#[test]
fn boards_without_timings_have_costs() {
    let network = described("mobilenet");
    for name in pipeit_planner::board::names() {
        let predictor = Predictor::of(&Board::built_in(name).unwrap());
        let machine = [cores("big", 2, 1.0), cores("little", 4, 2.0)];
        let costs = predictor.costs(&network, &machine).unwrap();
        let all = 0..costs.layers();
        let ns = |cluster, cores| costs.work_ns(all.clone(), Team { cluster, cores });
        assert!(ns(0, 2) < ns(0, 1) && ns(1, 4) < ns(1, 2), "{name}");
        let alone = predictor.costs(&network, &[cores("little", 4, 1.0)]).unwrap();
        let factor = ns(1, 4) / alone.work_ns(all.clone(), Team { cluster: 0, cores: 4 });
        assert!((factor - 2.0).abs() < 1e-9);
    }
}

#[test]
fn nothing_is_cut_where_a_slot_could_not_carry_what_crosses() {
    let mut network = described("mobilenet");
    network.crossing_bytes[5] = 1 << 32;
    let predictor = Predictor::typical(Path::Neon);
    let costs = predictor.costs(&network, &[cores("a", 1, 1.0), cores("b", 1, 1.0)]).unwrap();
    let ns = |cut| costs.handover_ns(cut, pipeit_planner::plan::ClusterSet::from_bits(1), 1);
    assert!(ns(5).is_infinite() && ns(4).is_finite());
}

/// A profile whose times are what `truth` says, times a factor per team.
fn profile(truth: &ClusterPredictor) -> Profile {
    let mut rows = Vec::new();
    for network in Network::all() {
        let weights = Weights::of(network.layers().map(Layer::weights).sum());
        for cores in 1..=2 {
            rows.extend(network.layers().enumerate().map(|(index, layer)| Row {
                network: network.name.to_owned(),
                index,
                layer: *layer,
                weights,
                cluster: "cpu".to_owned(),
                cores,
                // Normalization is no operator of ours, and takes no time.
                ns: truth.layer_ns(layer, weights, cores).max(1.0),
                spread: 0.0,
                busy_ns: None,
            }));
        }
    }
    let made_up = Row { network: SYNTHETIC.to_owned(), ..rows[0].clone() };
    rows.push(made_up);
    Profile {
        format: FORMAT,
        machine: "test".to_owned(),
        date: "2026-01-01".to_owned(),
        clusters: vec![ProfiledCluster {
            name: "cpu".to_owned(),
            cores: 2,
            clock_mhz: 1000.0,
            path: "neon".to_owned(),
        }],
        handover_ns: 500.0,
        source_ns: 300.0,
        contention: 0.1,
        rows,
        frames: Vec::new(),
    }
}

#[test]
fn what_a_profile_shows_is_found_again() {
    let truth = ClusterPredictor::typical("cpu", Path::Neon).at_clock(700.0);
    let profile = profile(&truth);
    let fits = profile.fit().unwrap();
    let errors = [fits[0].layer_error(), fits[0].network_error()];
    assert!(errors.iter().all(|&error| error < 0.08), "{errors:?}");
    assert_eq!(fits[0].teams.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
    let predictor = profile.predictor().unwrap();
    let row = &profile.rows[7];
    let cluster = predictor.cluster("cpu").unwrap();
    assert_eq!(cluster.layer_ns(&row.layer, row.weights, row.cores), row.ns);
    let other = Layer { stride: 7, ..row.layer };
    let [found, expected] =
        [cluster, &truth].map(|cluster| cluster.layer_ns(&other, row.weights, 2));
    assert!((found / expected - 1.0).abs() < 0.1, "{found} {expected}");
    assert!(predictor.source.contains("test, 2026-01-01"));
}

#[test]
fn profiles_that_are_none_are_refused() {
    let good = profile(&ClusterPredictor::typical("cpu", Path::Neon));
    let refused = |change: fn(&mut Profile)| {
        let mut profile = good.clone();
        change(&mut profile);
        profile.check().unwrap_err()
    };
    assert_eq!(refused(|p| p.format = 9), ProfileError::Format { found: 9 });
    let error = refused(|p| p.clusters[0].path = "mmx".to_owned());
    assert!(matches!(error, ProfileError::Path { .. }));
    assert!(matches!(refused(|p| p.rows.clear()), ProfileError::Empty { .. }));
    for change in [
        (|p| p.rows[3].ns = f64::NAN) as fn(&mut Profile),
        |p| p.rows[3].cores = 3,
        |p| p.rows[3].cores = 0,
        |p| p.rows[3].cluster = "gpu".to_owned(),
    ] {
        assert!(matches!(refused(change), ProfileError::Row { row: 3, .. }));
    }
}

proptest! {
    #[test]
    fn groups_cost_what_their_layers_do(
        times in prop::collection::vec(prop::collection::vec(1.0f64..9.0, 12), 3),
        starts in prop::collection::btree_set(1usize..12, 0..8),
    ) {
        let cluster = |(name, team_ns): (&str, &[Vec<f64>])| Cluster {
            name: name.to_owned(),
            team_ns: team_ns.to_vec(),
            core_watts: 1.0,
        };
        let clusters = [("a", &times[..2]), ("b", &times[2..])].map(cluster);
        let costs = Costs::new(clusters.to_vec()).unwrap();
        let costs = costs.with_handover(|cut, from, to| (cut * 7 + to + 2 * from.unwrap_or(3)) as f64);
        let starts: Vec<_> = starts.into_iter().collect();
        let grouped = costs.grouped(&starts);
        prop_assert_eq!(grouped.layers(), starts.len() + 1);
        let bounds: Vec<_> = [0].into_iter().chain(starts).chain([12]).collect();
        for (group, ends) in bounds.windows(2).enumerate() {
            for team in [(0, 1), (0, 2), (1, 1)].map(|(cluster, cores)| Team { cluster, cores }) {
                let layers = costs.work_ns(ends[0]..ends[1], team);
                prop_assert!((grouped.work_ns(group..group + 1, team) - layers).abs() < 1e-9);
                let from = pipeit_planner::plan::ClusterSet::from_bits(u32::from(group > 0));
                let own = grouped.handover_ns(group, from, team.cluster);
                prop_assert_eq!(own, costs.handover_ns(ends[0], from, team.cluster));
            }
        }
    }
}
