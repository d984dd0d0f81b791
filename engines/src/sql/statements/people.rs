//! The door and who keeps it, in statements that both engines understand.

use async_trait::async_trait;
use common::{
    names,
    store::{People, Standing, StoreError},
};

use super::{Connection, ThisStore, standings};
use crate::sql::call::reading;

#[async_trait]
impl People for ThisStore {
    async fn standing(&self, user: &str) -> Result<Option<Standing>, StoreError> {
        if !names::may_exist(user) {
            return Ok(None);
        }
        let standing = reading!(self, |db| { standings::of(db, user).await });
        Ok(standing.await?)
    }
}
