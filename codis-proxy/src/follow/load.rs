//! Reads slots and groups into the view.

use std::collections::{BTreeMap, BTreeSet};

use codis_core::{Gap, Group, GroupId, SlotId, SlotSet};
use codis_store::{Found, StoreError};
use futures::future::join_all;

use super::Follower;
use super::linked::linked_slaves;
use super::routes::View;

impl Follower {
    /// Reads everything anew. Returns false if the product has no slots.
    ///
    /// # Errors
    /// When the store does not answer; the view is then as it was.
    pub(super) async fn load_all(&mut self) -> Result<bool, StoreError> {
        let ids: SlotSet = SlotId::all().collect();
        let (slots, mut groups) = tokio::try_join!(self.product.slots(&ids), self.product.groups())?;
        if slots.found.is_empty() && slots.gaps.is_empty() {
            return Ok(false);
        }
        let ids: Vec<GroupId> = groups.found.keys().copied().collect();
        let held = self.held_among(&ids, &mut groups).await?;
        report(&slots.gaps);
        report(&groups.gaps);
        let mut view = View::empty();
        view.keep_routed(&self.view);
        view.set_held(&ids, &held);
        for slot in slots.found {
            view.set_slot(slot.id, Some(slot.value));
        }
        for (id, group) in groups.found {
            view.set_group(id, Some(group));
        }
        self.view = view;
        let all: Vec<SlotId> = SlotId::all().collect();
        self.ask_masters(&all, None).await;
        Ok(true)
    }

    /// Reads some slots anew, and with them all groups that they need; `changed` is a group whose
    /// servers have changed. Returns the slots that could not be read.
    ///
    /// # Errors
    /// When the store does not answer; the view is then as it was.
    pub(super) async fn load_some(
        &mut self,
        slots: BTreeSet<SlotId>,
        changed: &BTreeSet<GroupId>,
    ) -> Result<Vec<SlotId>, StoreError> {
        let wanted: SlotSet = slots.iter().copied().collect();
        let ids: Vec<SlotId> = wanted.iter().collect();
        // Most often a slot needs the groups that it needed before: they are read at the same time.
        let mut likely = self.view.groups_of(&ids);
        likely.extend(changed);
        let likely: Vec<GroupId> = likely.into_iter().collect();
        let (read, mut groups) =
            tokio::try_join!(self.product.slots(&wanted), self.product.some_groups(&likely))?;
        report(&read.gaps);
        let mut view = self.view.clone();
        let mut unread = slots;
        for slot in read.found {
            unread.remove(&slot.id);
            view.set_slot(slot.id, Some(slot.value));
        }
        // A slot that could not be read keeps its route: it says nothing about where it should go.
        let mut needed = view.groups_of(&ids);
        needed.retain(|group| !likely.contains(group));
        let needed: Vec<GroupId> = needed.into_iter().collect();
        if !needed.is_empty() {
            let more = self.product.some_groups(&needed).await?;
            groups.found.extend(more.found);
            groups.gaps.extend(more.gaps);
        }
        let read: Vec<GroupId> = likely.into_iter().chain(needed).collect();
        let held = self.held_among(&read, &mut groups).await?;
        report(&groups.gaps);
        view.set_held(&read, &held);
        for id in read {
            view.set_group(id, groups.found.remove(&id));
        }
        self.view = view;
        let mut asked = ids;
        asked.extend(changed.iter().flat_map(|group| self.view.slots_using(*group)));
        self.ask_masters(&asked, Some(changed)).await;
        Ok(unread.into_iter().collect())
    }

    /// Which of these groups, which have just been read, are to be held back. Where a hold has ended they are read once more:
    /// what names the master was written together with that.
    async fn held_among(
        &mut self,
        ids: &[GroupId],
        groups: &mut Found<BTreeMap<GroupId, Group>>,
    ) -> Result<BTreeSet<GroupId>, StoreError> {
        let held = self.read_switches(ids).await?;
        let ended = ids.iter().copied().filter(|id| self.view.is_held(*id) && !held.contains(id));
        let ended: Vec<GroupId> = ended.collect();
        if !ended.is_empty() {
            let again = self.product.some_groups(&ended).await?;
            ended.iter().for_each(|id| drop(groups.found.remove(id)));
            groups.found.extend(again.found);
            groups.gaps.extend(again.gaps);
        }
        Ok(held)
    }

    /// Reads groups whose hold has just ended; which slots they have has not changed with that. What names the master now was
    /// written together with the end of the hold.
    ///
    /// # Errors
    /// When the store does not answer; the view is then as it was, and they are held back still.
    pub(super) async fn load_released(&mut self, over: &BTreeSet<GroupId>) -> Result<(), StoreError> {
        let ids: Vec<GroupId> = over.iter().copied().collect();
        let mut groups = self.product.some_groups(&ids).await?;
        report(&groups.gaps);
        self.view.set_held(&ids, &BTreeSet::new());
        for id in ids {
            self.view.set_group(id, groups.found.remove(&id));
        }
        let slots: Vec<SlotId> = over.iter().flat_map(|group| self.view.slots_using(*group)).collect();
        self.ask_masters(&slots, Some(over)).await;
        Ok(())
    }

    /// Asks the masters of those of the slots that are moving how many slaves follow them.
    ///
    /// While a group stays as it is the number only grows: a slave that was lost on the way has not
    /// seen what was handed over since, so hand-overs fail until it is back or the group changes.
    async fn ask_masters(&mut self, slots: &[SlotId], changed: Option<&BTreeSet<GroupId>>) {
        let fresh = |group: &Group| changed.is_none_or(|changed| changed.contains(&group.id));
        let masters = self.view.moving_groups(slots).into_iter();
        let masters: Vec<_> =
            masters.filter_map(|group| Some((group.master()?.addr.clone(), fresh(group)))).collect();
        let access = self.access.clone();
        let ask = |master| {
            let access = &access;
            async move { linked_slaves(master, access).await }
        };
        let answers = join_all(masters.iter().map(|(master, _)| ask(master))).await;
        for ((master, fresh), answer) in masters.into_iter().zip(answers) {
            match answer {
                Ok(slaves) => {
                    let before = if fresh { 0 } else { self.view.linked(&master).unwrap_or(0) };
                    self.view.set_linked(master, slaves.max(before));
                }
                Err(why) => tracing::warn!(
                    server = %master, why,
                    "a master cannot be asked for its slaves; hand-overs wait for those that the store lists"
                ),
            }
        }
        self.view.forget_idle_masters();
    }
}

fn report(gaps: &[Gap]) {
    for gap in gaps {
        tracing::error!(path = gap.path, why = gap.why, "a node cannot be understood");
    }
}
