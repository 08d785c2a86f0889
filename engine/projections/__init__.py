"""What is made from the journal and can be deleted: index, key filters, snapshots."""
