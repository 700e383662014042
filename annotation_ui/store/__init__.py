"""The database: tables, migrations, accounts, projects."""
