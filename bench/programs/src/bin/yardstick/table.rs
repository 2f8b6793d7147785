//! Calls by their numbers, each at the place that its number says: what the described codec has, too, in a room of its own.

pub struct Table<T> {
    /// A power of two of them, or none.
    places: Box<[Option<(u32, T)>]>,
    count: usize,
    number: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Box::default(), count: 0, number: 0 }
    }
}

impl<T> Table<T> {
    /// A number whose place is free.
    pub fn next_number(&mut self) -> u32 {
        loop {
            self.number = self.number.wrapping_add(1);
            if self.number != 0 && self.places.get(self.place(self.number)).is_none_or(Option::is_none) {
                return self.number;
            }
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    fn place(&self, number: u32) -> usize {
        number as usize & self.places.len().wrapping_sub(1)
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let place = self.place(number);
        self.places.get_mut(place)?.as_mut().filter(|found| found.0 == number).map(|found| &mut found.1)
    }

    /// `number`: from `next_number`.
    pub fn insert(&mut self, number: u32, item: T) {
        if 2 * self.count >= self.places.len() {
            self.grow();
        }
        let place = self.place(number);
        if let Some(free) = self.places.get_mut(place) {
            self.count += usize::from(free.is_none());
            *free = Some((number, item));
        }
    }

    /// Numbers with places of their own have them in a longer table, too.
    #[cold]
    fn grow(&mut self) {
        let length = (2 * self.places.len()).max(8);
        let before = std::mem::replace(&mut self.places, (0..length).map(|_| None).collect());
        for (number, item) in before.into_iter().flatten() {
            let place = self.place(number);
            if let Some(free) = self.places.get_mut(place) {
                *free = Some((number, item));
            }
        }
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let place = self.place(number);
        let (_, item) = self.places.get_mut(place)?.take_if(|found| found.0 == number)?;
        self.count -= 1;
        Some(item)
    }
}
