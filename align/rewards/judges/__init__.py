"""Language models as judges of responses: single ones by score or rubric, and pairs within a prompt's group."""
