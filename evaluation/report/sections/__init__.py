"""The parts of the report, one file each: from tables to sentences, tables and figures."""
