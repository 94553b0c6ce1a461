//! Leases and cuts on DynamoDB and S3.

use super::moto::Moto;

#[tokio::test]
async fn moto_answers() {
    let moto = Moto::start();
    moto.create_table_of_leases("leases").await;
    moto.create_ledger("ledger").await;
    moto.create_bucket("cuts.example").await;
    let tables = aws_sdk_dynamodb::Client::new(&moto.config()).list_tables().send().await.unwrap();
    assert_eq!(tables.table_names(), ["leases", "ledger"]);
    assert!(moto.endpoint().starts_with("http://127.0.0.1:"));
}
