//! Changes anything that can be taken apart: a number, a name, a list somewhere in it.

use pipeit_tool::noise::Noise;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// `value` after a few changes; `None` when it can no longer be put together.
pub(super) fn change<T: Serialize + DeserializeOwned>(value: &T, noise: &mut Noise) -> Option<T> {
    let mut tree = serde_json::to_value(value).ok()?;
    // Mostly one, after which most are still valid.
    for _ in 0..=noise.below(8).saturating_sub(5) {
        change_once(&mut tree, noise);
    }
    serde_json::from_value(tree).ok()
}

/// Numbers at which something may go wrong.
const EDGES: [i64; 14] = [
    0,
    1,
    2,
    64,
    127,
    -128,
    -1,
    255,
    256,
    65_535,
    65_536,
    1 << 30,
    i32::MAX as i64,
    u32::MAX as i64,
];

fn change_once(tree: &mut Value, noise: &mut Noise) {
    // What stands elsewhere often has the right type.
    let other = somewhere(tree, noise).clone();
    let place = somewhere(tree, noise);
    match place {
        Value::Number(number) => {
            let Some(old) = number.as_i64() else { return };
            let new = match (noise.below(6), other.as_i64()) {
                (0, _) => old.wrapping_add(1),
                (1, _) => old.wrapping_sub(1),
                (2, _) => old.wrapping_mul(2),
                (3, _) => old / 2,
                (4, Some(other)) => other,
                _ => EDGES[noise.below(EDGES.len())],
            };
            *number = new.into();
        }
        Value::Bool(value) => *value = !*value,
        Value::Array(list) if !list.is_empty() => {
            let [a, b] = [0; 2].map(|_| noise.below(list.len()));
            match noise.below(4) {
                0 => drop(list.remove(a)),
                1 => list.insert(a, list[b].clone()),
                2 => list[a] = list[b].clone(),
                _ => list.swap(a, b),
            }
        }
        place => *place = other,
    }
}

/// A value in `tree`: down from its root, a way chosen at every fork. Often a list on that way.
fn somewhere<'a>(mut tree: &'a mut Value, noise: &mut Noise) -> &'a mut Value {
    loop {
        let forks = match tree {
            Value::Array(list) if noise.below(4) > 0 => list.len(),
            Value::Object(fields) => fields.len(),
            _ => 0,
        };
        if forks == 0 {
            return tree;
        }
        let way = noise.below(forks);
        tree = match tree {
            Value::Array(list) => &mut list[way],
            Value::Object(fields) => fields.values_mut().nth(way).expect("one of them"),
            leaf => return leaf,
        };
    }
}
