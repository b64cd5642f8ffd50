//! Panels as lists of groups of weights whose products [fit](pipeit_rt::kernels::packed::Place).

use std::collections::VecDeque;

use pipeit_rt::kernels::packed::{Place, Sums, Together, fitting};

/// Adjacent inputs of a group.
const GROUP: usize = 4;

/// Columns of a panel.
const COLUMNS: usize = 8;

/// How far groups may be from each other that are together: inputs are read about in their order.
const NEAR: usize = 32;

/// The weights of an input, column by column.
type Input = [i16; COLUMNS];

/// What a panel has of a group.
struct Group {
    place: Place,
    weights: [i8; COLUMNS * GROUP],
}

/// Panels of `depth` inputs, in rows of `reach`, as lists of groups; with the number of groups of
/// each. None when they are too many.
pub(super) fn grouped(weights: &mut [i16], depth: usize, reach: usize) -> Option<(Vec<i8>, u32)> {
    let inputs: &mut [Input] = weights.as_chunks_mut().0;
    let mut panels = Vec::new();
    for panel in inputs.chunks_mut(depth.max(1)) {
        let mut groups = Vec::new();
        for (row, inputs) in panel.chunks_mut(reach.max(1)).enumerate() {
            group_row(inputs, row, &mut groups)?;
        }
        panels.push(together(groups));
    }
    let most = panels.iter().map(Vec::len).max()?.next_multiple_of(2);
    let mut packed = Vec::new();
    for groups in panels {
        let missing = most - groups.len();
        packed.extend(groups.iter().flat_map(|group| group.place.to_codes()));
        packed.extend(std::iter::repeat_n(Place::NONE.to_codes(), missing).flatten());
        packed.extend(groups.iter().flat_map(|group| group.weights));
        packed.extend(std::iter::repeat_n(0, missing * COLUMNS * GROUP));
    }
    Some((packed, u32::try_from(most).ok()?))
}

/// Adds the groups of a row, which has four inputs at least, of which nothing is left.
fn group_row(inputs: &mut [Input], row: usize, groups: &mut Vec<Group>) -> Option<()> {
    let last = inputs.len().checked_sub(GROUP)?;
    let mut next = 0;
    while let Some(left) = inputs.get(next..)?.iter().position(|input| *input != [0; COLUMNS]) {
        next += left;
        // A group that begins here, or with an input that is done, so that others are side by side.
        let starts = [next, next.saturating_sub(1)].map(|start| start.min(last));
        let start = starts.into_iter().rev().max_by_key(|&start| done(inputs, start, next))?;
        let mut weights = [0; COLUMNS * GROUP];
        let group = inputs.get_mut(start..start + GROUP)?.as_chunks_mut::<2>().0;
        for (pair, [a, b]) in group.iter_mut().enumerate() {
            for (column, (a, b)) in a.iter_mut().zip(b).enumerate() {
                let fits = fitting([*a, *b]);
                [*a, *b] = [*a - i16::from(fits[0]), *b - i16::from(fits[1])];
                let at = column * GROUP + 2 * pair;
                weights.get_mut(at..at + 2)?.copy_from_slice(&fits);
            }
        }
        let (row, input) = (u16::try_from(row).ok()?, u16::try_from(start).ok()?);
        groups.push(Group { place: Place { row, input, together: Together::One }, weights });
    }
    Some(())
}

/// The groups four of which fit together, four by four, then those two of which do, then the others.
fn together(groups: Vec<Group>) -> Vec<Group> {
    let (mut sets, mut left) = (Vec::new(), VecDeque::from(groups));
    for together in [Together::Four, Together::Two] {
        let mut alone = VecDeque::new();
        while let Some(group) = left.pop_front() {
            let Some(others) = partners(&group, &left, together as usize - 1) else {
                alone.push_back(group);
                continue;
            };
            // From the back, so that those in front stay where they are.
            let others = others.into_iter().rev().filter_map(|at| left.remove(at));
            for group in others.collect::<Vec<_>>().into_iter().rev().chain([group]) {
                sets.push(Group { place: Place { together, ..group.place }, ..group });
            }
        }
        left = alone;
    }
    sets.extend(left);
    sets
}

/// Which `count` of the others, the nearest, fit together with a group.
fn partners(group: &Group, others: &VecDeque<Group>, count: usize) -> Option<Vec<usize>> {
    let (mut sums, mut found) = (Sums::default().plus(&group.weights), Vec::new());
    for (at, other) in others.iter().enumerate().take(NEAR) {
        let more = sums.plus(&other.weights);
        if more.fit() {
            sums = more;
            found.push(at);
        }
        if found.len() == count {
            return Some(found);
        }
    }
    None
}

/// How many inputs from `next` on a group at `start` would be the last of.
fn done(inputs: &[Input], start: usize, next: usize) -> usize {
    let input = |i: usize| inputs.get(i).copied().unwrap_or_default();
    let is_done = |i: usize| {
        let is_second = (i - start) % 2 == 1;
        let other = if is_second { i - 1 } else { i + 1 };
        input(i).into_iter().zip(input(other)).all(|(weight, other)| {
            let fits = match is_second {
                true => fitting([other, weight])[1],
                false => fitting([weight, other])[0],
            };
            i16::from(fits) == weight
        })
    };
    (next..start + GROUP).take_while(|&i| is_done(i)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;

    /// What the groups of the panel `packed` make of the weights.
    fn ungrouped(packed: &[i8], groups: usize, depth: usize, reach: usize) -> Vec<i16> {
        let (places, weights) = packed.split_at(4 * groups);
        let mut found = vec![0; depth * 8];
        for (place, weights) in places.as_chunks().0.iter().zip(weights.as_chunks::<32>().0) {
            let place = Place::of_codes(*place);
            if place == Place::NONE {
                continue;
            }
            for (i, &weight) in weights.iter().enumerate() {
                let input = usize::from(place.row) * reach + usize::from(place.input) + i % 4;
                found[input * 8 + i / 4] += i16::from(weight);
            }
        }
        found
    }

    #[test]
    fn groups_add_up_to_the_weights_and_their_products_fit() {
        let mut noise = Noise::new(7);
        for largest in [20, 127, 255] {
            for (depth, reach) in [(4, 4), (36, 12), (256, 256)] {
                let mut draw = || (noise.below(2 * largest + 1) as i32 - largest as i32) as i16;
                let weights: Vec<i16> = (0..3 * depth * 8).map(|_| draw()).collect();
                let (packed, groups) = grouped(&mut weights.clone(), depth, reach).unwrap();
                let groups = groups as usize;
                assert_eq!(packed.len(), 3 * groups * 36);
                let expected = weights.chunks(depth * 8);
                for (packed, expected) in packed.chunks(groups * 36).zip(expected) {
                    assert_eq!(ungrouped(packed, groups, depth, reach), expected);
                    let (places, weights) = packed.split_at(4 * groups);
                    for pair in weights.as_chunks::<2>().0 {
                        assert_eq!(fitting(pair.map(i16::from)), *pair);
                    }
                    let places = places.as_chunks().0.iter().map(|&place| Place::of_codes(place));
                    let mut left: &[[i8; 32]] = weights.as_chunks().0;
                    let mut together = 0;
                    for size in [Together::Four, Together::Two] {
                        let count = places.clone().filter(|place| place.together == size).count();
                        let (sets, others) = left.split_at(count);
                        for set in sets.chunks(size as usize) {
                            assert_eq!(set.len(), size as usize);
                            assert!(set.iter().fold(Sums::default(), Sums::plus).fit());
                        }
                        together += count;
                        left = others;
                    }
                    assert!(largest > 20 || together + 1 >= depth / 4, "{together} of {groups}");
                }
                if largest == 20 {
                    assert_eq!(groups, (depth / 4).next_multiple_of(2), "no pair is too large");
                }
            }
        }
    }
}
